//! One host seen by many sources is billed once.
