"""From scores to decisions: what is accepted, as which classes, and how sure that is."""
