//! A source that hangs, panics or returns garbage: the others go on, and it is said once.
