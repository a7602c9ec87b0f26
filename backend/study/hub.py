"""Ask whether the hub answers, because its library waits without end, and name how connections fail."""

from __future__ import annotations

from http.client import HTTPException
from urllib.error import URLError
from urllib.request import Request, urlopen

SECONDS = 10.0
"""How long the hub may take to answer."""


def hangs() -> bool:
    """Return whether the hub takes a request and does not answer it; False if it cannot be reached at all."""
    from huggingface_hub import constants  # slow to import, and only for the hub

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=SECONDS):
            return False
    except TimeoutError:
        return True
    except URLError as error:  # an answer such as 404 is one of these
        return isinstance(error.reason, TimeoutError)
    except (OSError, HTTPException, ValueError):
        return False


def failures() -> tuple[type[Exception], ...]:
    """Return what the hub's library raises where a connection fails, apart from its own errors."""
    import httpx2  # slow to import, and only for the hub

    return (OSError, httpx2.HTTPError)
