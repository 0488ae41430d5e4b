"""A run as one self-contained HTML page, `report.html`: made from the report, the patch and the transcript."""
