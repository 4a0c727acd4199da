#!/bin/bash
# beside-ray PROGRAM…: runs a program that drives Ray beside a node of the cluster, without cores, as
# it needs one. When either ends the other is ended, so that a container's restart starts both anew:
# a node ends for good once it has lost the head.
set -u
trap : TERM INT # else a signal would end this shell, and leave both alone

ray start --address="$TRUTHTUNE_RAY_ADDRESS" --num-cpus=0 --num-gpus=0 \
    --object-store-memory=536870912 --block &
node=$!
"$@" &
program=$!

wait -n "$node" "$program"
status=$?
# The program first: while it gives its job back, it may still need its node.
kill -TERM "$program" 2> /dev/null
wait "$program"
kill -TERM "$node" 2> /dev/null
wait "$node"
exit "$status"
