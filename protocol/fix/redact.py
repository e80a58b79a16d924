"""Messages as they may be shown: without passwords."""

import re

#: Password(554), NewPassword(925), and the two in encrypted form, up to the end of the field; in
#: RawData(96), where older versions have the password, any byte may be part of the value.
_SECRETS = re.compile(rb"((?:^|\x01)(?:554|925|1402|1404)=)[^\x01]*")
_RAW_DATA = re.compile(rb"((?:^|\x01)96=).*?(?=\x01(?:10|98|108)=|$)", re.DOTALL)
_RAW_LENGTH = re.compile(rb"((?:^|\x01)95=)[0-9]+(?=\x0196=)")
_IS_LOGON = re.compile(rb"(?:^|\x01)35=A(?:\x01|$)")


def without_secrets(message: bytes) -> bytes:
    """Return a message, whole or cut, well made or not, with `***` for each password in it."""
    shown = _SECRETS.sub(rb"\g<1>***", message)
    if not _IS_LOGON.search(shown):
        return shown
    # The length is that of the mask: whoever reads the message finds its end, and learns nothing.
    return _RAW_LENGTH.sub(rb"\g<1>3", _RAW_DATA.sub(rb"\g<1>***", shown))
