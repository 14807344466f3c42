"""What an atlas is: its specification, cases, calendar, polygons and names on disk."""
