"""What many processes share: brokers, a database, and who does what of the processing."""
