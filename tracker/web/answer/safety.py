"""What a browser may do with any of our answers.

Source: https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header, Content Security Policy
Level 3, https://owasp.org/www-project-secure-headers.
"""

from collections.abc import Collection

RawHeaders = list[tuple[bytes, bytes]]

POLICY = b"content-security-policy"

# An answer is data: opened as a document it may load nothing, and nobody may frame it.
DATA_POLICY = (POLICY, b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'")

_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


def marks(origins: Collection[str]) -> RawHeaders:
    """The headers of each answer, where pages of *origins* may read them; "*" is any."""
    reach = b"cross-origin" if "*" in origins else b"same-origin"
    return [*_ALWAYS, (b"cross-origin-resource-policy", reach)]
