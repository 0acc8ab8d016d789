"""Topic and file names that more than one package must spell alike."""

GUARD_REQUEST_TOPIC = "/command_guard/request"
GUARD_HEARTBEAT_TOPIC = "/command_guard/heartbeat"
GUARD_STATUS_TOPIC = "/command_guard/status"

SIM_TRUTH_MARKERS_TOPIC = "/sim/truth/markers"
SIM_TRUTH_IMAGE_MARKERS_TOPIC = "/sim/truth/image_markers"
SIM_SUCCESS_TOPIC = "/sim/truth/success"
SIM_OPERATOR_PHASE_TOPIC = "/sim/operator_phase"

EPISODE_SIDECAR = "episode.json"
ANNOTATION_SUFFIX = ".annotation"
ANNOTATION_SIDECAR = "annotation.json"
MANIFEST_FILE = "manifest.json"
