"""The rows of reports in Druid: how they get in, and how questions are asked of them."""
