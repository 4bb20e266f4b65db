"""`fastnas predict`: images, videos and streams to files with results."""
