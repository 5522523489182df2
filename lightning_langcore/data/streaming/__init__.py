"""Text that is read and packed while training goes on."""
