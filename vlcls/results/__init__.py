"""What is done with results: images sorted into folders by their labels, and put back.

Import from the file: `vlcls.results.sorting`, `.unsorting`, ...
"""
