//! Seeded simulator: scheduler, disks, crashes, oracles; runs the real cores.
