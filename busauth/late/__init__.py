"""What has happened since a token was issued?"""
