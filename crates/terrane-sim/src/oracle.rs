//! Was there an order in which all this makes sense?
