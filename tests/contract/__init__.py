"""What every API server owes its clients: the same tests for the sandbox's and for a real kube-apiserver."""
