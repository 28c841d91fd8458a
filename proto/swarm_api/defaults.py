"""What holds where nobody said otherwise. Figures with a source name it."""

API_PORT = 2377  # Docker Swarm's own, which we replace
RAFT_PORT_OFFSET = 1  # the Raft transport listens on the API port plus this
VXLAN_PORT = 4790  # 4789 is Docker Swarm's

STATE_DIR = "/var/lib/raftswarm"
RUN_DIR = "/run/raftswarm"
CONFIG_FILE = "/etc/raftswarm/raftswarm.toml"

HEARTBEAT_PERIOD_S = 1.0
NODE_DOWN_AFTER_S = 3.0  # a frozen node has 2 s to come back without losing a task
ORPHAN_AFTER_S = 24 * 3600.0
NODES_DUE_AFTER_S = 300.0  # after a restoration: time to point each of the old nodes at the new manager

CERTIFICATE_VALIDITY_S = 90 * 24 * 3600.0

TASK_HISTORY_LIMIT = 5  # SwarmKit keeps 5
SERVICE_HISTORY_LIMIT = 10
SCHEDULE_HISTORY_LIMIT = 5  # runs of a scheduled job, and skipped ones

RESTART_DELAY_S = 5.0  # SwarmKit's
STOP_GRACE_PERIOD_S = 10.0  # Docker's
UPDATE_MONITOR_S = 5.0  # SwarmKit's

ADDRESS_POOLS = ("10.128.0.0/11",)
SUBNET_PREFIX_LENGTH = 24
PUBLISHED_PORTS = (30000, 32767)  # where unnamed published ports are taken from, as in SwarmKit

MAX_REPLICAS = 100_000  # of one service; more is a slip of the keyboard
MAX_OBJECT_SIZE_BYTES = 512 * 1024  # one Raft entry holds at least this
MAX_SECRET_SIZE_BYTES = 500 * 1024  # Docker's
