"""The reporter: answers typed questions about a site's series (steps 7 and 8) and manages sites and keys."""
