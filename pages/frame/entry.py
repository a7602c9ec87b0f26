"""Let people in: everybody without a provider in the secrets, else those whom the provider and the server know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import streamlit as st

from backend.vocabulary.markdown import plain

USERS = "LAYERSHIFT_USERS"
"""E-mail addresses, or domains such as @example.org, separated by commas; unset: everyone whom the provider knows."""


def admits() -> bool:
    """Return whether the page may be drawn; show how to log in otherwise, and below the sidebar how to log out."""
    if "is_logged_in" not in st.user:  # Streamlit adds it where the secrets name a provider
        return True
    if st.user.is_logged_in is not True:
        st.title("Layershift")
        st.write("Log in to see the studies of this server.")
        for name in _providers():
            label = f"Log in with {plain(name)}" if name else "Log in"
            st.button(label, key=f"login-{name}", icon=":material/login:", on_click=st.login, args=(name or None,))
        return False
    email = str(st.user.get("email") or "")
    admitted = _is_user(email, st.user.get("email_verified"))
    if not admitted:
        st.error(f"{plain(email) or 'This account'} may not use this server; ask its operator to add the address.")
    with st.sidebar if admitted else st.container():
        st.button("Log out", key="logout", icon=":material/logout:", on_click=st.logout)
    return admitted


def _is_user(email: str, verified: Any) -> bool:
    """Return whether the server admits an address; one that the provider calls unverified never counts."""
    named = [one.strip().lower() for one in os.environ.get(USERS, "").split(",") if one.strip()]
    if not named:
        return True
    said = email.lower()
    return verified is not False and said.count("@") == 1 and (said in named or said[said.index("@") :] in named)


def _providers() -> list[str]:
    """Return the providers in the secrets; an empty name for the only one without a name."""
    section: Mapping[str, Any] = st.secrets.get("auth", {})
    return [name for name, value in section.items() if isinstance(value, Mapping)] or [""]
