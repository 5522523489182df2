"""The sections of a report, a module a subject; each function returns plain blocks, none where runs lack them."""
