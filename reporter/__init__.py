"""The reporter: answers typed questions about a site's metrics (steps 7 and 8 of a hit's journey, see README.md)."""
