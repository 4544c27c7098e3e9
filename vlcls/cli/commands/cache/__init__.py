"""The store of embeddings on disk: what was encoded once is not encoded again.

It lives in the user's cache folder, or in the folder that the variable VLCLS_CACHE names.
"""

ORDER = ("info", "verify", "clear")
