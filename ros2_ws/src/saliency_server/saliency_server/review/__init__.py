"""`autofocus review`: a page on loopback where a person checks what the annotator saw."""
