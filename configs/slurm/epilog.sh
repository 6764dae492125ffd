#!/bin/sh
# Tells wattledger-agent that a job ends on this node; what to put into slurm.conf is in prolog.sh beside it.
# Slurm drains a node whose epilog fails or hangs: this one always ends with 0, and within a second.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
timeout -k 1 1 "${AGENT:-wattledger-agent}" job stop >/dev/null </dev/null
exit 0
