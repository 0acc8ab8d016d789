"""Topic and file names that more than one package must spell alike."""

GUARD_REQUEST_TOPIC = "/command_guard/request"
GUARD_HEARTBEAT_TOPIC = "/command_guard/heartbeat"
#: sensor_msgs/JointState, all joints: what was really sent, where the robot's own command topic has another type.
GUARD_COMMAND_TOPIC = "/command_guard/command"
GUARD_STATUS_TOPIC = "/command_guard/status"

#: Last part of the latched topic (std_msgs/String, a JSON object) on which a camera node says what it is; it lies in
#: the namespace of the camera: /camera/camera/color/image_raw -> /camera/camera/device_info.
DEVICE_INFO_NAME = "device_info"

SIM_TRUTH_MARKERS_TOPIC = "/sim/truth/markers"
SIM_TRUTH_IMAGE_MARKERS_TOPIC = "/sim/truth/image_markers"
SIM_SUCCESS_TOPIC = "/sim/truth/success"
SIM_OPERATOR_PHASE_TOPIC = "/sim/operator_phase"

EPISODE_SIDECAR = "episode.json"
ANNOTATION_SUFFIX = ".annotation"
ANNOTATION_SIDECAR = "annotation.json"
REVIEW_SUFFIX = ".review.json"
ANNOTATION_FAILED_SUFFIX = ".annotation.failed.json"
MANIFEST_FILE = "manifest.json"
