"""Keeps OpenVINO and its quantizer from telling a server what is converted.

They do so by default, through a package of their own, and do without it where it can't
be imported. So this is imported before they are.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)
