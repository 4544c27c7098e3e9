"""One part of each kind that another package can bring to vlcls, a file each."""
