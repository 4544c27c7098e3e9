"""The descriptor editor: a page in the browser that shows what each change does."""
