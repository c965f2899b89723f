//! Sandboxes, peers and fault tools for the tests of Fastness.
