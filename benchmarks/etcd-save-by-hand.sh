#!/bin/sh
# What etcd's documentation says, and then what it does not do: a check of the SHA-256 at the end of the file.
# Runs on a master, as root. Usage: etcd-save-by-hand.sh FILE
set -eu
pki=/etc/kubernetes/pki/etcd
export ETCDCTL_CACERT=$pki/ca.crt ETCDCTL_CERT=$pki/healthcheck-client.crt ETCDCTL_KEY=$pki/healthcheck-client.key
"/proc/$(pgrep -x etcd)/root/usr/local/bin/etcdctl" snapshot save "$1" >/dev/null 2>&1
said=$(tail -c 32 "$1" | od -An -v -tx1 | tr -d ' \n')
is=$(head -c -32 "$1" | sha256sum | cut -d ' ' -f 1)
test "$said" = "$is"
