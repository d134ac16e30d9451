//! The routers service without I/O: queue, combining, tokens, plans, ageing.
