"""Who waits: an asyncio loop, the caller's thread, or a virtual clock in memory."""
