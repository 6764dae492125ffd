#!/bin/sh
# Tells wattledger-agent that a job begins on this node. In slurm.conf:
#
#   Prolog=/etc/slurm/wattledger/prolog.sh
#   Epilog=/etc/slurm/wattledger/epilog.sh
#   PrologFlags=Alloc
#
# Alloc: on every node when it is allocated; without, Slurm runs it with the first step, and on nodes without a step
# never. Beside other scripts: Prolog may be given several times, or as a pattern (/etc/slurm/prolog.d/*.sh).
#
# Slurm drains a node whose prolog fails or hangs. This one always ends with 0: the agent's command gives up after
# 30 ms, and is killed after a second should even that hang. A job that no agent could be told of is left for it in
# its drop folder, with its instant.
#
# Read from the environment: SLURM_JOB_ID, _USER, _ACCOUNT, _PARTITION, _GPUS and _CPUS_PER_NODE. Where slurm.conf
# counts cores and not hyperthreads, set [jobs] cores_of in the agent's configuration alike.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
timeout -k 1 1 "${AGENT:-wattledger-agent}" job start >/dev/null </dev/null
exit 0
