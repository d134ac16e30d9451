//! The S3 front end over terrane-objects.
