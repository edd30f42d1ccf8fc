"""What services share through Redis: sessions, and a replay memory."""
