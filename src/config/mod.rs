//! The configuration: a file or flags, resolved into a plan.
