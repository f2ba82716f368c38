"""Policies on the other end of a wire: clients of policy servers, and ``vlagen-serve``, a server for any policy."""
