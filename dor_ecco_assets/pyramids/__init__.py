"""Line: gridded products as web map pyramids, and the page that shows them."""
