/* wire: names of messages. */
#include "shm/wire.h"

const char *lt_msg_name(uint32_t type)
{
    static const char *const names[] = {
        [LT_MSG_HELLO] = "hello",
        [LT_MSG_BYE] = "bye",
        [LT_MSG_TOPIC_CREATE] = "topic create",
        [LT_MSG_TOPIC_DELETE] = "topic delete",
        [LT_MSG_TOPIC_LIST] = "topic list",
        [LT_MSG_TOPIC_DESCRIBE] = "topic describe",
        [LT_MSG_TOPIC_ATTACH] = "topic attach",
        [LT_MSG_TOPIC_DETACH] = "topic detach",
        [LT_MSG_RING_ATTACH] = "ring attach",
        [LT_MSG_CONSUMER_OPEN] = "consumer open",
        [LT_MSG_CONSUMER_CLOSE] = "consumer close",
        [LT_MSG_READER_OPEN] = "reader open",
        [LT_MSG_READER_CLOSE] = "reader close",
        [LT_MSG_STATUS] = "status",
        [LT_MSG_CLIENTS] = "clients",
        [LT_MSG_FOLD] = "fold",
        [LT_MSG_TOPIC_NAME] = "topic name",
        [LT_MSG_GROUP_JOIN] = "group join",
        [LT_MSG_GROUP_LEAVE] = "group leave",
        [LT_MSG_GROUP_SYNC] = "group sync",
        [LT_MSG_GROUP_RELEASE] = "group release",
        [LT_MSG_GROUP_COMMIT] = "group commit",
        [LT_MSG_GROUP_OFFSETS] = "group offsets",
        [LT_MSG_GROUP_LIST] = "group list",
        [LT_MSG_GROUP_DESCRIBE] = "group describe",
        [LT_MSG_GROUP_DELETE] = "group delete",
        [LT_MSG_GROUP_VIEW] = "group view",
        [LT_MSG_GROUP_PROPOSE] = "group propose",
        [LT_MSG_SEGMENT_ATTACH] = "segment attach",
        [LT_MSG_TOPIC_RESUME] = "topic resume",
        [LT_MSG_TOPIC_ALTER] = "topic alter",
    };
    const char *name = type < sizeof names / sizeof *names ? names[type] : 0;
    return name ? name : "unknown";
}
