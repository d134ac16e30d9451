//! The keymap core: sequencer, overlay, queues, progress. No I/O; takes time as an argument.
