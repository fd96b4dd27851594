"""One file a verb, with one public function that is also the Python API."""
