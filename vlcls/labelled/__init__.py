"""Images whose classes are known: folders by class, columns of tables and of data sets.

One reader for all: what a name, an id or a number stands for is decided in `places` and `scheme` alone.
"""

from vlcls.labelled.folders import FOLDER_GROUP, labelled_folder
from vlcls.labelled.images import LabelledEmbeddings, LabelledImages, embed_labelled
from vlcls.labelled.places import class_places, value_places
from vlcls.labelled.rows import labelled_dataset

__all__ = [
    "FOLDER_GROUP", "LabelledEmbeddings", "LabelledImages", "class_places", "embed_labelled",
    "labelled_dataset", "labelled_folder", "value_places",
]  # fmt: skip
