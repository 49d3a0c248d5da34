"""How schemathesis sends a content that is not JSON."""

import schemathesis


@schemathesis.serializer("message/rfc822")
def mail(_, value):
    """A mail is octets as they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
