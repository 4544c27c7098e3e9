"""The descriptor editor: a page in the browser that shows what a change of descriptors does, and keeps count."""
