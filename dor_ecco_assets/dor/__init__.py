"""Line: POP cases to research files, analysis stores, map fields and curves."""
