"""What services share through Redis: sessions, and a replay memory."""

from busauth._doors import hand_out
from busauth._extras import needs

with needs(__name__, "redis"):
    from busauth.integrations.redis.replay import RedisReplay
    from busauth.integrations.redis.sessions import RedisSessions

__all__ = ["RedisReplay", "RedisSessions"]

hand_out(__name__, globals())
