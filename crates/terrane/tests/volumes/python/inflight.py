"""Requests that were sent and not waited for."""

import nbd


def outcome(handle, cookie):
    """Whether a request succeeded. A connection that ends fails all that is in flight."""
    while True:
        try:
            if handle.aio_command_completed(cookie):
                return True
        except nbd.Error:
            return False
        if handle.aio_is_dead() or handle.aio_is_closed():
            return False
        try:
            handle.poll(1000)
        except nbd.Error:
            pass
