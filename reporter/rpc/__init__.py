"""One file per RPC: its limits, its checks, its few lines of reading and answering."""
