//! The volume manager: owns the truth about volumes, stripes, copies and attachments.
