"""What made each partition, whether it still holds, and how it is published."""
