/* layout: what of the shared structs' shape only shows at run time; the rest is asserted by the compiler. */
#include <string.h>

#include "shm/mailbox.h"
#include "shm/region.h"
#include "shm/topic.h"
#include "shm/wire.h"
#include "test.h"

TEST(fingerprint_is_the_same_each_time)
{
    CHECK(lt_fingerprint() != 0);
    CHECK_EQ(lt_fingerprint(), lt_fingerprint());
}

TEST(ident_of_a_reader_keeps_its_three_numbers_apart)
{
    uint64_t ident = LT_READER_IDENT(UINT32_MAX, LT_TOPIC_PARTITIONS_MAX - 1, LT_BELLS - 1);
    CHECK_EQ(ident >> 63, 1);
    CHECK_EQ((uint32_t)(ident >> 28), UINT32_MAX);
    CHECK_EQ(ident >> 12 & 0xffff, LT_TOPIC_PARTITIONS_MAX - 1);
    CHECK_EQ(ident & 0xfff, LT_BELLS - 1);
}

TEST(every_message_has_a_name_of_its_own)
{
    for (uint32_t a = LT_MSG_HELLO; a <= LT_MSG_FOLD; a++) {
        CHECK(strcmp(lt_msg_name(a), "unknown") != 0);
        for (uint32_t b = LT_MSG_HELLO; b < a; b++)
            CHECK(strcmp(lt_msg_name(a), lt_msg_name(b)) != 0);
    }
}

TEST(message_that_does_not_exist_is_called_unknown)
{
    CHECK_STR(lt_msg_name(0), "unknown");
    CHECK_STR(lt_msg_name(LT_MSG_TOPIC_ALTER + 1), "unknown");
    CHECK_STR(lt_msg_name(UINT32_MAX), "unknown");
}
