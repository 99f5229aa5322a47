/* The safety protocol of caskeeper as built: worker/services/{operations,maintenance,recovery,cleanup,eviction,
   remove,healing}.py, worker/store/{blobs,staging,objects,refs,promises}.py, caskeeper/coordination/lua.
   Flags choose the actors (configurations.txt), QUOTA the room that there is; every -DM_x takes one protection away, and must be found out.
   A crash is a process that is never scheduled again, so every crash point is covered; leases expire and Redis
   empties (once) at any step. Each atomic block is one volume call or one script. */
#ifndef MAXI
#define MAXI 7                                             /* inodes 1 and 2 are there, the others are written */
#endif
#define A 1
#define B 2
#define U 3                                                /* what a client uploads to a server: o1 alone */
#define CL(root) ((root)==A -> 3 : ((root)==B -> 1 : 2))   /* closure: A={o0,o1}  B={o0} */
#define RB(r) (1<<(r))
#define NOREF 3                                            /* a writer that binds nothing: an upload, a restore */
#define SERVE 4                                            /* a server's operation: promises, binds nothing */

/* ---- the volume ---- */
byte now=1, nexti=3;
byte place[2]; byte tr[6];                                 /* cas/objects; trash/<cleanup>/o-…, slot*2+object */
byte st[MAXI]; byte nl[MAXI]; byte disk;                   /* age, links, inodes that are named anywhere */
byte ref[3]; byte rser[3]; byte serc=1;
byte gref[2]; byte gser[2]; byte grn[2];                   /* the ref in a cleanup's trash: root, serial, name */
byte ext[2]; bool extp;                                    /* extract of A: linked inodes; published */
byte tdir[3]; byte tstart[3];                              /* tmp/<op>: 0 none 1 there 2 fenced. 0,1 writers 2 reader */
byte tmpi[3]; byte fby[3];                                 /* staged inode; slot+1 of the trash a fenced folder lies in */
byte lk[3];                                                /* tmp/<op>/reserved: what it says that it may still add */
byte cdir[3]; byte rby[3];                                 /* trash/<cleanup>: 0 none 1 there 2 fenced; by whom + 1 */
#ifdef ORDER
bool over;
#endif
byte lst;                                                  /* A's closure list: 0 none, else its age + 1 */
byte pst; bool gro;                                        /* age of tmp/served-…, and whether its time is over */
/* ---- Redis ---- */
byte epoch=1, epc=1; bool ready=1, canEvict=1;
byte opreg[3]; bool opexp[3]; byte res[3];                 /* operations: 0 none 1 registered or expected 3 dying */
byte opep[3];                                              /* the epoch that the operation itself knows of */
byte clR[3]; byte clK[3];
byte cur; bool curexp; byte condR, condK, condS, req;  /* condemned: roots, refs, and keys as sessions are told */
byte used; bool known=1; byte delta;
/* ---- what somebody was told (ghosts), and what an operation knows of itself ---- */
byte sessep; bool sess; byte promised; bool told; byte wipes;
byte gr[3]; byte ad[3]; bool alive[3];                     /* granted and not settled, published of it; runs */
byte hR[3]; byte hK[3];                                    /* what it claimed */
bool dmg; byte rino[3];                                    /* inode 1 is damaged; the inode of o0 that a ref relied upon */

#ifdef M_SHARED_TRASH
#define TI(c,o) (o)
#else
#define TI(c,o) ((c)*2+(o))
#endif
#ifdef M_NO_CLEANER_FENCE
#define CD(c) (cdir[c]!=0)
#else
#define CD(c) (cdir[c]==1)
#endif
#ifdef M_NO_OP_FENCE
#define TD(w) (tdir[w]!=0)
#else
#define TD(w) (tdir[w]==1)
#endif
#ifdef DEAD0
#define NS 3                                               /* a third cleanup died before the beginning */
#else
#define NS 2
#endif
#if defined(W2) || defined(W2A) || defined(W2B) || defined(PULL) || defined(UP) || defined(SV) || defined(LK)
#define OP1 true
#else
#define OP1 false
#endif
#ifdef W1
#define OP0 true
#else
#define OP0 false
#endif
#ifdef RD
#define OP2 true
#else
#define OP2 false
#endif
#define IS_OP(w) (((w)==0 && OP0) || ((w)==1 && OP1) || ((w)==2 && OP2))
#define HAVE(o) (place[o]!=0 || tr[o]!=0 || tr[2+(o)]!=0 || tr[4+(o)]!=0)
#define COMPLETE(root) (HAVE(0) && ((root)==B || HAVE(1)))
#ifdef HEAL
#define RELIED_ON_DAMAGE(r) (dmg && rino[r]==1)
#else
#define RELIED_ON_DAMAGE(r) false
#endif
#define I3(r) (ref[r]==0 || COMPLETE(ref[r]) || RELIED_ON_DAMAGE(r))
#define GRABBED(r) ((gref[0]!=0 && grn[0]==(r)) || (gref[1]!=0 && grn[1]==(r)))
#define PROM(r) ((promised & RB(r))==0 || ref[r]!=0 || GRABBED(r))
#if defined(WIPE) && defined(ACC)
#define LINKS                                              /* the accounts through a loss of Redis */
#endif
#ifdef LINKS
#define SPENDS(w) (TD(w) -> gr[w]-ad[w]-(tmpi[w]!=0) : 0)   /* what it believes it may still write */
#define I5 (!ready || epoch==0 || used + res[0]+res[1]+res[2] >= disk + SPENDS(0)+SPENDS(1))
#else
#define I5 (used + res[0]+res[1]+res[2] >= disk)
#endif
#ifdef QUOTA
#define FITS(n) (used + res[0]+res[1]+res[2] + (n) <= QUOTA)
#else
#define FITS(n) true
#endif
inline chk() {
  assert(I3(0) && I3(1) && I3(2));
  assert(PROM(0) && PROM(1) && PROM(2));
  assert(!told || HAVE(1));
#if defined(ACC) && !defined(QUOTA_ALONE)
  assert(I5);
#endif
#ifdef QUOTA
  assert(disk <= QUOTA);
#endif
}
inline unl(i) { nl[i]--; if :: nl[i]==0 -> disk--; st[i]=0 :: else fi }
#ifdef ACC
#define COUNT(x) x
#else
#define COUNT(x) skip
#endif
#ifdef WIPE
#define KNOWS(x) x                                         /* what an operation needs to come back after a loss */
#else
#define KNOWS(x) skip
#endif
#ifdef HEAL
#define GHOST(x) x
#else
#define GHOST(x) skip
#endif
#ifdef HEAL
#define SOUND !(dmg && rel==1)
#else
#define SOUND true
#endif
#define PROTECTED(r) (sess && (req & RB(r))!=0 && sessep==epoch && epoch!=0 && SOUND)

/* The operation's own figure replaces what was expected of it. */
#ifdef M_FIGURE_ONLY_RAISED
#define OWN_FIGURE(w) res[w]=(res[w]>gr[w] -> res[w] : gr[w])
#else
#define OWN_FIGURE(w) res[w]=gr[w]
#endif
/* ---------------- the reservation: on the volume first, then in Redis ---------------- */
#ifdef QUOTA
#define MOST(w) gr[w]
#else
#define MOST(w) 2
#endif
#ifdef LINKS
#define SAYS(w,n) atomic { if :: TD(w) -> lk[w]=(n) :: else -> goto fin fi }
#else
#define SAYS(w,n) skip
#endif
inline obtain(w, n) {
#ifndef M_LINK_LATE
  SAYS(w,gr[w]+n);
#endif
  /* a script under an epoch that is gone changes nothing: it is sent again when the operation is known again */
  atomic { (opep[w]==epoch) -> if :: opreg[w]!=1 -> goto fin :: else fi;
           if :: FITS(n) -> COUNT(res[w]=res[w]+n); KNOWS(gr[w]=gr[w]+n); printf("W%d is granted %d\n",w,n); chk() :: else fi };
  SAYS(w,gr[w])                                                                    /* after a refusal */
}
inline settle_part(w) {                                      /* and what is spare goes too; a dying one keeps it */
#ifdef M_LINK_LOWERED_FIRST
  SAYS(w,0);
#endif
  atomic { if :: opep[w]==epoch && opreg[w]!=0 -> used=used+ad[w]; delta=delta+ad[w];
                 res[w]=(opreg[w]==3 -> (res[w]>ad[w] -> res[w]-ad[w] : 0) : (res[w]>gr[w] -> res[w]-gr[w] : 0));
                 gr[w]=0; ad[w]=0; printf("W%d settles a part\n",w); chk()
              :: else -> skip fi };
  SAYS(w,gr[w])
}

/* ---------------- whoever relies on objects: touch, look at the path, else write ---------------- */
inline refresh_all(w, root, canw) {
  o=0; tries=0;
  do
  :: o==2 -> break
  :: o<2 && (CL(root) & (1<<o))==0 -> o++
  :: o<2 && (CL(root) & (1<<o))!=0 ->
#ifdef M_NO_REFRESH
     atomic { if :: place[o]!=0 -> o++; goto nx :: else -> goto create fi };
#endif
#ifdef M_STAMP_EARLY
     myst = now;                                                               /* clock read, then paused, then applied */
#endif
     atomic { i = place[o]; if :: i==0 -> goto create :: else fi };            /* utimensat: path resolved */
#ifdef M_STAMP_EARLY
     atomic { st[i] = myst };
#else
     atomic { if :: nl[i]!=0 -> st[i] = now :: else fi; printf("W%d touches o%d (inode %d) = %d\n",w,o,i,now) };
#endif
rely:
#ifndef M_NO_STAT
     atomic { i = place[o];
              if :: i!=0 && st[i]>=tstart[w] -> GHOST(if :: o==0 -> rel=i :: else fi); o++; i=0; printf("W%d relies\n",w)
                 :: else -> i=0; tries++; if :: tries>2 -> goto fin :: else fi fi };
#else
     o++; i=0;
#endif
     goto nx;
create:
     if :: !canw -> goto fin :: else fi;
#ifdef QUOTA
     if :: gr[w]==ad[w] -> obtain(w,1); if :: gr[w]==ad[w] -> goto fin :: else fi :: else fi;
#endif
     atomic { if :: TD(w) && nexti<MAXI && ad[w]<MOST(w) -> i=nexti; nexti++; st[i]=now; nl[i]=1; disk++; tmpi[w]=i;
                    printf("W%d stages o%d (inode %d) %d\n",w,o,i,now); i=0
                 :: else -> goto fin fi; chk() };
#ifdef M_RENAME_OVER
     atomic { if :: tmpi[w]==0 || !TD(w) -> goto fin
                 :: else -> if :: place[o]!=0 -> unl(place[o]) :: else -> ad[w]++ fi; place[o]=tmpi[w]; tmpi[w]=0; o++; chk() fi };
#else
     atomic { if :: tmpi[w]==0 || !TD(w) -> goto fin
                 :: else -> if :: place[o]==0 -> place[o]=tmpi[w]; tmpi[w]=0; ad[w]++; i=1; printf("W%d publishes o%d\n",w,o)   /* its staging was its touch */
                               :: else -> unl(tmpi[w]); tmpi[w]=0; tries++; printf("W%d EEXIST o%d\n",w,o);
#ifdef M_EEXIST_NO_REFRESH
                                 o++;
#endif
                                 if :: tries>2 -> goto fin :: else fi fi; chk() fi };
#endif
#ifdef QUOTA
     if :: true -> skip :: gr[w]!=0 -> settle_part(w) fi;
#endif
     if :: i!=0 -> goto rely :: else fi;
nx:  skip
  od; o=0; tries=0
}

/* what was staged goes, then the folder, then the settlement */
inline end_operation(w) {
  atomic { if :: TD(w) -> if :: tmpi[w]!=0 -> unl(tmpi[w]); tmpi[w]=0 :: else fi; tdir[w]=0; lk[w]=0
              :: else -> kept = 1 fi; chk() };
#ifdef M_FENCED_SETTLE_DROPS
  kept = 0;
#endif
  atomic { if :: opep[w]==epoch && opreg[w]!=0 -> settle(w)
              :: opep[w]==epoch && opreg[w]==0 -> skip                                     /* converted by whoever reaped */
              :: opep[w]!=epoch && opep[w]!=0 && ready && opreg[w]==3 -> skip              /* it will be */
              :: opep[w]!=epoch && opep[w]!=0 && ready && opreg[w]!=3 -> opreg[w]=1; COUNT(OWN_FIGURE(w)); settle(w)   /* told to the next epoch */
              :: opep[w]==0 -> skip fi;
           alive[w]=0; gr[w]=0; KNOWS(hR[w]=0; hK[w]=0); ad[w]=0; kept=0; GHOST(rel=0); chk() };
}
inline settle(w) {
  COUNT(used=used+ad[w]; delta=delta+ad[w]); printf("W%d settles +%d kept %d\n",w,ad[w],kept);
#ifdef M_SETTLE_DYING_DROPS
  if :: kept && opreg[w]!=3
#else
  if :: kept || opreg[w]==3
#endif
        -> COUNT(res[w] = (res[w]>ad[w] -> res[w]-ad[w] : 0)); opreg[w]=3              /* the rest is converted by whoever reaps */
     :: else -> res[w]=0; opreg[w]=0; clR[w]=0; clK[w]=0 fi
}

proctype Writer(byte w; byte root; byte r; bool canw; bool look) {
  byte o, i, tries, rel; bool kept;
#ifdef M_STAMP_EARLY
  byte myst;
#endif
#ifdef ORDER
  (w==1 || tmpi[1]!=0);                                                            /* one order of beginnings, to keep it small */
#endif
  atomic { now++; tdir[w]=1; tstart[w]=now; printf("W%d begins %d\n",w,now) };
  atomic { ready && epoch!=0 -> if :: opreg[w]==3 -> goto fin :: else fi; opreg[w]=1; opexp[w]=0; opep[w]=epoch; KNOWS(alive[w]=1); printf("W%d registers\n",w) };
  if :: canw -> obtain(w,2) :: else -> atomic { if :: opreg[w]==1 && opep[w]==epoch -> skip :: else -> goto fin fi } fi;
  if :: r==SERVE -> atomic { pst=tstart[w] } :: else fi;                           /* the promise, before anything is told */
  if :: !canw ->                                                                   /* link: resolve, claim, resolve */
     atomic { if :: ref[0]==A -> skip :: else -> goto fin fi };
     atomic { if :: opreg[w]==1 && opep[w]==epoch && ready && (condR & A)==0 -> clR[w]=A; KNOWS(hR[w]=A) :: else -> goto fin fi };
     atomic { if :: ref[0]==A -> skip :: else -> goto fin fi };
#ifdef M_LINK_NO_REFRESH
     atomic { if :: place[0]!=0 && place[1]!=0 -> goto bind :: else -> goto fin fi };
#endif
     skip
  :: else fi;
  refresh_all(w, root, canw);
  if :: root==A -> atomic { if :: TD(w) -> lst=now+1 :: else -> goto fin fi } :: else fi;
  if :: r==SERVE -> atomic { if :: !gro -> told=1; printf("W%d tells its client\n",w) :: else fi; chk() };
                    if :: true -> goto fin :: true -> goto stays fi                /* the server ends, or stays for its grace */
     :: r==NOREF -> goto fin
     :: else fi;
bind:
#ifdef M_PULL_NO_HOLD
  if :: look -> atomic { if :: ref[r]==root -> if :: PROTECTED(r) -> promised=promised|RB(r) :: else fi; goto fin :: else fi } :: else fi;
#endif
  /* hold: lease alive, nothing condemned (else it waits); after a loss it waits until it is registered again */
#ifndef M_NO_HOLD
  atomic { (opep[w]==epoch && (opreg[w]!=1 || (ready && (condK & RB(r))==0 && (condR & root)==0))) ->
           if :: opreg[w]==1 -> clR[w]=clR[w]|root; clK[w]=RB(r); KNOWS(hR[w]=clR[w]; hK[w]=clK[w]); printf("W%d holds\n",w) :: else -> goto fin fi };
#else
  atomic { if :: opreg[w]==1 && opep[w]==epoch -> skip :: else -> goto fin fi };
#endif
  if :: look -> if :: ref[r]==root ->                                              /* it is there: nothing to bind */
#ifdef M_CACHED_UNFENCED
                      atomic { if :: PROTECTED(r) -> promised=promised|RB(r) :: else fi; goto fin }
#else
                      atomic { if :: TD(w) && PROTECTED(r) -> promised=promised|RB(r) :: else fi; goto fin }   /* not fenced until now */
#endif
                   :: else fi
     :: else fi;
  atomic { if :: TD(w) -> ref[r]=root; serc++; rser[r]=serc; GHOST(rino[r]=rel); printf("W%d BINDS ref%d -> root%d\n",w,r,root);
                          if :: PROTECTED(r) -> promised=promised|RB(r); printf("   (required)\n") :: else fi; chk()
              :: else -> printf("W%d is fenced\n",w); goto fin fi };
fin:
  end_operation(w);
stays: skip
}

/* ---------------- reader: extracts A through ref0 or ref2 ---------------- */
#define NAMED(root) (ref[0]==(root) || ref[1]==(root) || ref[2]==(root))
proctype Reader() {
  byte o, s, e0, e1, look; bool pub;
  atomic { now++; tdir[2]=1; tstart[2]=now };
  atomic { ready && epoch!=0 -> if :: opreg[2]==3 -> goto fin :: else fi; opreg[2]=1; opexp[2]=0; opep[2]=epoch; KNOWS(alive[2]=1) };
  if :: NAMED(A) -> skip :: else -> goto fin fi;
#ifndef M_NO_CLAIM
  atomic { if :: opreg[2]==1 && opep[2]==epoch && ready && (condR & A)==0 -> clR[2]=A; KNOWS(hR[2]=A); printf("E claims A\n") :: else -> goto fin fi };
#endif
  if :: NAMED(A) -> skip :: else -> goto fin fi;                                   /* resolve again after the claim */
  do :: o==2 -> break
     :: o<2 -> look=0;
again:  atomic { if :: place[o]!=0 -> if :: !TD(2) -> goto fin :: else fi;
                       if :: o==0 -> e0=place[o] :: else -> e1=place[o] fi; nl[place[o]]++; ext[o]=place[o]; printf("E links o%d\n",o); o++; goto nx
                    :: else fi };
        s=0;                                                                       /* look into every trash and put it back */
        do :: s==NS -> break
           :: s<NS -> atomic {
#ifdef M_RESTORE_LINK
                if :: tr[TI(s,o)]!=0 && place[o]==0 -> place[o]=tr[TI(s,o)]; nl[place[o]]++; goto again :: else fi;
#else
                if :: tr[TI(s,o)]!=0 && place[o]==0 -> place[o]=tr[TI(s,o)]; tr[TI(s,o)]=0; printf("E puts o%d back\n",o); goto again :: else fi;
#endif
                s++ }
        od;
        look++;
        if :: look<2 -> goto again :: else fi;
#ifndef M_GB_ALWAYS
        atomic { assert((dmg && o==0) || !(opreg[2]==1 && opep[2]==epoch && ready && TD(2))) };     /* a miss with a valid claim */
#endif
        goto fin;
nx:     skip
  od;
  atomic { if :: TD(2) && !extp -> extp=1; pub=1; printf("E publishes its extract\n") :: else fi };
fin:
  atomic { if :: TD(2) -> if :: !pub -> if :: e0!=0 -> unl(e0); ext[0]=0 :: else fi; if :: e1!=0 -> unl(e1); ext[1]=0 :: else fi :: else fi; tdir[2]=0
              :: else fi; e0=0; e1=0; chk() };
  atomic { if :: opreg[2]==1 && opep[2]==epoch -> opreg[2]=0; clR[2]=0 :: else fi; alive[2]=0; KNOWS(hR[2]=0) }
}

#ifdef M_NO_TOKEN
#define TOK (epoch!=0)
#else
#define TOK MINE
#endif
#ifdef M_COND_NO_REQ
#define REQOK true
#else
#define REQOK ((req & rk)==0)
#endif
#ifdef M_COND_NO_CLAIM
#define CLOK true
#else
#define CLOK (((clR[0]|clR[1]|clR[2]) & gc)==0 && ((clK[0]|clK[1]|clK[2]) & rk)==0)
#endif
/* Who recounts spares no unregistered folder. A cleanup spares young ones: who was registered in an earlier epoch
   is older than a lease life once the waiting period is over. */
#ifdef M_RECON_SPARES
#define SPARE(w) true
#elif defined(RECON)
#define SPARE(w) false
#else
#define SPARE(w) (opep[w]==0)
#endif
/* Expected after a loss, and not back when the waiting period is over: its claims are unknown, so it must not come
   back with them. */
#if defined(WIPE) && !defined(M_EXPECTED_COMES_LATE)
#define NOT_BACK(w) (opep[w]!=epoch)
#else
#define NOT_BACK(w) false
#endif
#define MINE (cur==c+1 && myep==epoch && epoch!=0)
inline giveback() {
#ifdef M_GIVEBACK_NO_TOKEN
   atomic { if :: gb>0 && epoch!=0 && known -> used = (used>=gb -> used-gb : 0) :: else fi; gb=0; chk() }
#else
   atomic { if :: gb>0 && MINE && known -> used = (used>=gb -> used-gb : 0); printf("C%d gives %d back\n",c,gb) :: else fi; gb=0; chk() }
#endif
}
/* Ours is one too many: something stands at its place. What stands there is made at least as young before. */
#ifdef M_EEXIST_UNLINKS
#define YOUNGER_THERE(i) true
#else
#define YOUNGER_THERE(i) (st[place[o]]>=st[i])
#endif

/* cas, tmp, trash, extract, in this order; each inode once */
inline scan() {
  do :: o==2 -> break
     :: o<2 -> atomic { i=place[o]; if :: i!=0 && (seen & (1<<i))==0 -> tot++; seen=seen|(1<<i) :: else fi; i=0; o++ }
  od; o=0;
  do :: w==2 -> break
     :: w<2 -> atomic { i=tmpi[w]; if :: i!=0 && (seen & (1<<i))==0 -> tot++; seen=seen|(1<<i) :: else fi; i=0; w++ }
  od; w=0;
  do :: o==6 -> break
     :: o<6 -> atomic { i=tr[o]; if :: i!=0 && (seen & (1<<i))==0 -> tot++; seen=seen|(1<<i) :: else fi; i=0; o++ }
  od; o=0;
  do :: o==2 -> break
     :: o<2 -> atomic { i=ext[o]; if :: i!=0 && (seen & (1<<i))==0 -> tot++; seen=seen|(1<<i) :: else fi; i=0; o++ }
  od; o=0; seen=0;
}
inline first_count() {
#ifdef LINKS
  scan();
  atomic { if :: MINE && !ready -> used=tot; printf("C%d counts %d at first\n",c,used) :: else fi; tot=0 }
#else
  skip
#endif
}
/* ---------------- safety.md section 5, steps 1 to 4 ---------------- */
inline begin_run() {
  atomic { (cur==0 || (curexp && cur!=c+1)) -> cur=c+1; curexp=0;
     if :: epoch==0 -> epc++; epoch=epc; ready=0; canEvict=0; known=0; used=0 :: else fi; myep=epoch; printf("C%d has the lease, epoch %d\n",c,epoch) };
#ifdef M_MARK_BEFORE_READY
  atomic { if :: MINE -> ready=1 :: else fi };
#endif
  atomic { now++; cdir[c]=1; cst=now; printf("C%d begins %d\n",c,cst) };
#ifdef M_HORIZON_LATE
  list_refs();
#endif
#ifndef M_NO_RECOVER
  s=0;
  do
  :: s==NS -> break
  :: s<NS && s==c -> s++
  :: s<NS && s!=c ->
     atomic { if :: (cdir[s]==1 || (rby[s]!=0 && rby[s]!=c+1)) -> cdir[s]=2; rby[s]=c+1; printf("C%d fences trash %d\n",c,s)
                 :: else -> s++; goto nxs fi };
     o=0;
     do
     :: o==2 -> break
     :: o<2 ->
rest:   atomic { i=tr[TI(s,o)];
                 if :: i==0 -> o++; goto nxo                                     /* nothing there, or put back by a reader */
                    :: i!=0 && rby[s]!=c+1 -> goto done                          /* recovered by somebody else: LeaseLost */
                    :: else fi;
#ifdef M_RECOVER_UNLINKS
                 tr[TI(s,o)]=0; unl(i); o++; i=0; chk(); goto nxo
#else
#ifdef M_HEAL_RECOVERY_DELETES
                 if :: s==0 -> tr[TI(s,o)]=0; unl(i); o++; i=0; chk(); goto nxo :: else fi;
#endif
                 if :: place[o]==0 -> place[o]=i; tr[TI(s,o)]=0; printf("C%d puts o%d back\n",c,o); o++; i=0; goto nxo
                    :: place[o]!=0 && YOUNGER_THERE(i) -> tr[TI(s,o)]=0; unl(i); COUNT(if :: nl[i]==0 -> gb++ :: else fi); o++; i=0; chk(); goto nxo
                    :: else -> x=place[o] fi
#endif
                 };
        atomic { if :: nl[x]!=0 -> st[x]=now :: else fi; x=0; i=0 };                                          /* touch what stands there, look again */
        goto rest;
nxo:    skip
     od; o=0;
     atomic { w=0; do :: w==3 -> break :: w<3 -> if :: fby[w]==s+1 && rby[s]==c+1 -> fby[w]=0; if :: tmpi[w]!=0 -> unl(tmpi[w]); tmpi[w]=0; COUNT(gb++) :: else fi :: else fi; w++ od; w=0; chk() };
     if :: s<2 ->
     atomic { if :: gref[s]!=0 && rby[s]==c+1 ->
                    if :: ref[grn[s]]==0 && place[0]!=0 && (gref[s]==B || place[1]!=0) -> ref[grn[s]]=gref[s]; rser[grn[s]]=gser[s]; printf("C%d puts ref%d back\n",c,grn[s]) :: else fi; gref[s]=0; gser[s]=0; grn[s]=0 :: else fi; chk() };
        :: else fi;
     atomic { if :: rby[s]==c+1 -> rby[s]=0; s++ :: else -> goto done fi };
nxs: skip
  od; s=0;
#endif
#ifdef WIPE
  /* After a loss: who has a folder is known again, with what it said; then a first count. */
  if :: !ready ->
#ifdef M_COUNTED_FIRST
  first_count();
#endif
#ifndef M_NOT_EXPECTED
  atomic { x = (tdir[0]==1 -> lk[0]+1 : 0) };
  atomic { i = (tdir[1]==1 -> lk[1]+1 : 0) };
  atomic { if :: MINE && !ready -> opreg[0]=(x!=0); opreg[1]=(i!=0); opreg[2]=(tdir[2]==1); COUNT(res[0]=(x!=0 -> x-1 : 0); res[1]=(i!=0 -> i-1 : 0));
                    printf("C%d expects %d %d\n",c,res[0],res[1]) :: else fi; x=0; i=0 };
#endif
#ifndef M_COUNTED_FIRST
  first_count();
#endif
  skip
  :: else fi;
#endif
  atomic { if :: MINE -> condR=0; condK=0; condS=0; ready=1; chk() :: else -> goto done fi };
#ifdef ACC
  if :: gb>0 -> giveback() :: else fi;
#endif
  /* dead operations: nothing during the waiting period after a loss */
#ifdef WIPE
  atomic { reaped = canEvict };
#else
  reaped = 1;
#endif
  if :: reaped ->
  atomic { if :: MINE -> w=0; do :: w==3 -> break :: w<3 -> if :: opreg[w]==1 && (opexp[w] || NOT_BACK(w)) -> opreg[w]=3; fencing[w]=1; printf("C%d: op %d is dying\n",c,w) :: opreg[w]==3 -> fencing[w]=1 :: else fi; w++ od; w=0 :: else -> goto done fi };
  atomic { do :: w==3 -> break :: w<3 -> if :: opreg[w]==0 && tdir[w]==1 -> if :: fencing[w]=2 :: SPARE(w) -> skip fi :: else fi; w++ od; w=0 };
  do :: w==3 -> break
     :: w<3 && fencing[w]==0 -> w++
     :: w<3 && fencing[w]!=0 ->
#ifdef M_CONVERT_FIRST
        atomic { if :: MINE && fencing[w]==1 -> COUNT(used=used+res[w]; delta=delta+res[w]); res[w]=0; opreg[w]=0; clR[w]=0; clK[w]=0 :: MINE -> skip :: else -> goto done fi; chk() };
#endif
        atomic { if :: !CD(c) -> goto done
                    :: CD(c) && tdir[w]==1 -> tdir[w]=2; lk[w]=0; fby[w]=c+1; printf("C%d fences op %d\n",c,w) :: else fi };
        if :: fby[w]==c+1 ->
        atomic { if :: !CD(c) || fby[w]!=c+1 -> goto done
                    :: else -> fby[w]=0;
#ifndef M_NO_OP_FENCE
                       if :: tmpi[w]!=0 -> unl(tmpi[w]); tmpi[w]=0 :: else fi;
                       if :: w==2 && !extp -> if :: ext[0]!=0 -> unl(ext[0]); ext[0]=0 :: else fi; if :: ext[1]!=0 -> unl(ext[1]); ext[1]=0 :: else fi :: else fi;
#endif
                       fi; chk() }
           :: else fi;
#ifndef M_CONVERT_FIRST
        if :: fencing[w]==1 ->
        atomic { if :: MINE ->
                    if :: opreg[w]==3 ->
#ifndef M_DROP_RES
                       COUNT(used=used+res[w]; delta=delta+res[w]);
#endif
                       res[w]=0; opreg[w]=0; clR[w]=0; clK[w]=0; printf("C%d converts op %d\n",c,w) :: else fi
                 :: else -> goto done fi; chk() }
           :: else fi;
#endif
        fencing[w]=0; w++
  od; w=0
     :: else fi;
  /* the horizon; who lists refs does it afterwards */
  h = cst;
#if defined(SV) && !defined(M_NO_PROMISE)
  atomic { if :: pst!=0 && !gro && pst<h -> h=pst :: else fi };
#endif
  do :: w==3 -> break
     :: w<3 && !IS_OP(w) -> w++
     :: w<3 && IS_OP(w) ->
#ifdef M_HORIZON_NO_OPS
        w++
#else
        atomic { if :: tdir[w]==1 && tstart[w]<h -> h=tstart[w] :: else fi; w++ }
#endif
  od; w=0; cst=0;
  printf("C%d horizon %d\n",c,h)
}
inline list_refs() {
  atomic { s0=ref[0]; q0=rser[0] };
#if defined(W1) || defined(W2)
  atomic { s1=ref[1]; q1=rser[1] };
#endif
#ifdef LK
  atomic { s2=ref[2]; q2=rser[2] };
#endif
  printf("C%d lists %d %d %d\n",c,s0,s1,s2)
}
inline drop_ref(r, sr, q) {
  if :: (rk & RB(r))!=0 ->
#ifdef M_REF_CAD
     atomic { if :: ref[r]==sr && rser[r]==q -> skip :: else -> kept=1; goto dr_end fi };
     atomic { if :: CD(c) && ref[r]!=0 -> ref[r]=0; printf("C%d unlinks ref%d\n",c,r) :: else fi; chk() };
#else
     atomic { if :: CD(c) && ref[r]==sr && rser[r]==q -> skip :: else -> kept=1; goto dr_end fi };
     atomic { if :: CD(c) && ref[r]!=0 -> gref[c]=ref[r]; gser[c]=rser[r]; grn[c]=r; ref[r]=0; printf("C%d takes ref%d\n",c,r) :: else -> kept=1; goto dr_end fi };
     atomic { if :: !CD(c) || gref[c]==0 -> goto done
                 :: CD(c) && gref[c]!=0 && gser[c]==q -> gref[c]=0; gser[c]=0; grn[c]=0; printf("C%d deletes ref%d\n",c,r)
                 :: CD(c) && gref[c]!=0 && gser[c]!=q -> kept=1; if :: ref[r]==0 -> ref[r]=gref[c]; rser[r]=gser[c] :: else fi; gref[c]=0; gser[c]=0; grn[c]=0; printf("C%d puts ref%d back\n",c,r) fi; chk() };
#endif
dr_end: skip
  :: else fi
}
/* the folder goes when it is empty, then the lease */
inline end_run() {
  atomic { if :: cdir[c]==1 -> cdir[c]=0 :: else fi };
  atomic { if :: MINE -> cur=0; condR=0; condK=0; condS=0 :: else fi }
}

/* ---------------- cleanup of one group; mode 1: remove of ref0 while other refs keep its tree ---------------- */
proctype Cleaner(byte c; bool mode) {
  byte h, cst, myep, g, gc, o, w, gb, free, i, keep, s, x; byte s0,s1,s2,q0,q1,q2, rk; byte fencing[3]; bool kept, reaped, sl, ky, isA;
#if defined(RECON) || defined(LINKS)
  byte tot, seen;
#endif
#ifdef ORDER
  (c==0 || over);
#endif
  begin_run();
#ifdef RECON
#ifdef M_RECOUNT_UNREAPED
  atomic { if :: canEvict -> skip :: else -> goto rel fi };
#else
  if :: reaped -> skip :: else -> goto rel fi;
#endif
  atomic { if :: MINE -> delta=0; tot=0; seen=0 :: else -> goto done fi };
  scan();
#ifdef M_RECON_NO_DELTA
  atomic { if :: MINE -> used=tot; known=1 :: else -> goto done fi; tot=0; chk() };
#else
  atomic { if :: MINE -> used=tot+delta; known=1; printf("C%d counts %d\n",c,used) :: else -> goto done fi; tot=0; chk() };
#endif
#endif
#if defined(WIPE) && !defined(RECON)
  atomic { if :: MINE && reaped -> known=1 :: else -> goto rel fi };
#endif
#ifndef M_HORIZON_LATE
  list_refs();
#endif
  atomic { sl = (lst!=0) };                                                      /* closure lists after the refs */
#ifdef SV
  keep = (s0!=0 -> CL(s0) : 0) | (s1!=0 -> CL(s1) : 0) | (s2!=0 -> CL(s2) : 0); free = 3-keep; goto objs;    /* unnamed uploads go first */
#endif
  /* one group: of refs, or a closure list (A's) that no ref has; mode 1: the name ref0 only */
  if :: mode -> if :: s0!=0 -> g=s0 :: else -> goto rel fi
     :: !mode && (s0==A || s1==A || s2==A) -> g=A
     :: !mode && (s0==B || s1==B || s2==B) -> g=B
     :: !mode && sl && s0!=A && s1!=A && s2!=A -> g=A
#ifdef SWEEP
     :: !mode && !sl && s0==0 && s1==0 && s2==0 -> free=3; goto objs             /* no list at all: everything is garbage */
#else
     :: !mode && !sl && s0==0 && s1==0 && s2==0 -> goto rel
#endif
  fi;
  gc=g;
  if :: mode -> rk=1; gc=0
     :: else -> rk=0; if :: s0==g -> rk=rk|1 :: else fi; if :: s1==g -> rk=rk|2 :: else fi; if :: s2==g -> rk=rk|4 :: else fi fi;
  keep=0;
  if :: s0!=0 && s0!=g -> keep = keep | CL(s0) :: else fi;
  if :: s1!=0 && s1!=g -> keep = keep | CL(s1) :: else fi;
  if :: s2!=0 && s2!=g -> keep = keep | CL(s2) :: else fi;
#ifndef M_LISTS_FORGOTTEN
  if :: sl && g!=A -> keep = keep | CL(A) :: else fi;                            /* a list without a ref keeps what it lists */
#endif
  free = CL(g) & (3-keep); sl=0;
  atomic { if :: TOK && canEvict && ready && known && REQOK && CLOK -> condR=gc; condK=rk; condS=rk; printf("C%d condemns root%d refs %d\n",c,gc,rk)
#ifdef SWEEP
              /* the target is not reached: what no list has goes, and a protected list counts */
              :: else -> free = (3-keep) & (3-CL(g)); goto objs fi };
#else
              :: else -> goto rel fi };
#endif
#ifndef M_OBJ_FIRST
  drop_ref(0,s0,q0); drop_ref(1,s1,q1); drop_ref(2,s2,q2);
#endif
  if :: g==A && !kept -> atomic { if :: extp && CD(c) && !NAMED(A) -> extp=0; printf("C%d removes the extract\n",c);
           if :: ext[0]!=0 -> unl(ext[0]); COUNT(if :: nl[ext[0]]==0 -> gb++ :: else fi); ext[0]=0 :: else fi;
           if :: ext[1]!=0 -> unl(ext[1]); COUNT(if :: nl[ext[1]]==0 -> gb++ :: else fi); ext[1]=0 :: else fi :: else fi; chk() } :: else fi;
#ifndef M_OBJ_FIRST
  atomic { if :: MINE -> condR=0; condK=0; condS=0 :: else fi };
  isA = (g==A && !kept);
  if :: kept || mode -> isA=0; goto back :: else fi;                                    /* bound anew meanwhile: the tree is wanted */
#endif
objs:
#ifndef M_OBJ_FIRST
  s0=0;s1=0;s2=0;q0=0;q1=0;q2=0;rk=0;gc=0;g=0;
#endif
  keep=0; o=0;
  do :: o==2 -> break
     :: o<2 && (free & (1<<o))==0 -> o++
     :: o<2 && (free & (1<<o))!=0 ->
        atomic { if :: place[o]==0 -> goto nxt :: place[o]!=0 && st[place[o]]>=h -> ky=1; goto nxt :: else fi };   /* first look */
        atomic { if :: !CD(c) -> goto done
                    :: CD(c) && place[o]==0 -> goto nxt
                    :: else -> if :: tr[TI(c,o)]!=0 -> unl(tr[TI(c,o)]) :: else fi;
                               tr[TI(c,o)]=place[o]; place[o]=0; printf("C%d takes o%d (inode %d, %d)\n",c,o,tr[TI(c,o)],st[tr[TI(c,o)]]) fi; chk() };
#ifndef M_NO_SECOND_LOOK
look2:  atomic { i=tr[TI(c,o)];
                 if :: i==0 || !CD(c) -> i=0; ky=1; goto nxt                     /* put back by a reader, or fenced */
                    :: i!=0 && CD(c) && st[i]<h -> i=0; goto gone
                    :: else fi;
                 if :: place[o]==0 -> place[o]=i; tr[TI(c,o)]=0; i=0; printf("C%d puts o%d back\n",c,o); ky=1; goto nxt
                    :: place[o]!=0 && YOUNGER_THERE(i) -> i=0; goto gone
                    :: else -> x=place[o]; i=0 fi };
        atomic { if :: nl[x]!=0 -> st[x]=now :: else fi; printf("C%d touches o%d (inode %d) = %d\n",c,o,x,now); x=0 };   /* then look again */
        goto look2;
#endif
gone:   atomic { if :: tr[TI(c,o)]!=0 && CD(c) -> i=tr[TI(c,o)]; tr[TI(c,o)]=0; unl(i); COUNT(if :: nl[i]==0 -> gb++ :: else fi);
#ifdef M_GB_ALWAYS
                    COUNT(if :: nl[i]!=0 -> gb++ :: else fi);
#endif
                    i=0; printf("C%d UNLINKS o%d\n",c,o) :: else fi; chk() };
nxt:    o++
  od;
  if :: isA && !ky -> atomic { if :: CD(c) && lst!=0 && lst-1<h -> lst=0 :: else fi } :: else fi;
  isA=0; ky=0;
#ifdef M_OBJ_FIRST
  drop_ref(0,s0,q0); drop_ref(1,s1,q1); drop_ref(2,s2,q2);
#endif
back:
#ifdef ACC
  giveback();
#endif
rel: end_run();
done:
#ifdef ORDER
  over = 1
#else
  skip
#endif
}

#ifdef M_WITHDRAW_TWO_LOOKS
#define BACK false
#else
#define BACK HAVE(0)                                       /* what it needs came back after the look: the ref goes back */
#endif
/* as drop_ref, for one ref of the healer: three times in one process, so without labels */
inline take_ref(r, sr, q) {
  atomic { if :: rk!=0 && CD(c) && ref[r]==sr && rser[r]==q -> skip :: else -> kept=1 fi };
  if :: !kept -> atomic { if :: CD(c) && ref[r]!=0 -> gref[c]=ref[r]; gser[c]=rser[r]; grn[c]=r; ref[r]=0 :: else -> kept=1 fi } :: else fi;
  if :: !kept -> atomic { if :: !CD(c) || gref[c]==0 -> goto done
                             :: CD(c) && gref[c]!=0 && gser[c]==q && !BACK -> gref[c]=0; gser[c]=0; grn[c]=0; printf("H%d withdraws ref%d\n",c,r)
                             :: CD(c) && gref[c]!=0 && (gser[c]!=q || BACK) -> if :: ref[r]==0 -> ref[r]=gref[c]; rser[r]=gser[c] :: else fi; gref[c]=0; gser[c]=0; grn[c]=0 fi; chk() } :: else fi
}

/* ---------------- heal, and verify --repair: a damaged o0 is taken from its place ---------------- */
#ifdef HEAL
proctype Healer(byte c) {
  byte h, cst, myep, gc, o, w, gb, i, s, x, f; byte s0,s1,s2,q0,q1,q2, rk; byte fencing[3]; bool kept, reaped;
#ifdef STALEFOUND
  f=MAXI;                                                                        /* found long ago, and gone since */
#else
  atomic { dmg && place[0]==1 -> f=1; printf("H%d finds inode 1 damaged\n",c) };            /* without the lease */
#endif
  begin_run();
  atomic { if :: !CD(c) -> goto done
              :: CD(c) && place[0]!=0 -> tr[TI(c,0)]=place[0]; place[0]=0; printf("H%d takes inode %d\n",c,tr[TI(c,0)])
              :: else fi };
look2:
  atomic { i=tr[TI(c,0)];
           if :: i==0 || !CD(c) -> i=0; goto wd
#ifdef M_HEAL_NO_LOOK
              :: i!=0 && CD(c) -> tr[TI(c,0)]=0; i=0; chk(); goto wd
#else
              :: i!=0 && CD(c) && i==f -> tr[TI(c,0)]=0; i=0; printf("H%d: quarantined\n",c); chk(); goto wd
              :: i!=0 && CD(c) && i!=f && place[0]==0 -> tr[TI(c,0)]=0; place[0]=i; i=0; goto wd
              :: i!=0 && CD(c) && i!=f && place[0]!=0 && YOUNGER_THERE(i) -> tr[TI(c,0)]=0; unl(i); i=0; chk(); goto wd
#endif
              :: else -> x=place[0]; i=0 fi };
  atomic { if :: nl[x]!=0 -> st[x]=now :: else fi; x=0 };
  goto look2;
wd:
  /* withdraw the refs that name it while it is missing: condemn each, then look, then take */
  list_refs();
  do :: w==3 -> break
     :: w<3 -> rk=0;
        if :: w==0 && s0!=0 -> rk=1; gc=s0 :: w==1 && s1!=0 -> rk=2; gc=s1 :: w==2 && s2!=0 -> rk=4; gc=s2 :: else -> goto nxr fi;
#ifdef M_WITHDRAW_LOOKS_FIRST
        atomic { if :: HAVE(0) -> goto nxr :: else fi };
#endif
        atomic { if :: MINE && ready && CLOK ->
                 condK=rk; condR=gc;
#ifndef M_WITHDRAW_NO_KEYS
                 condS=rk;
#endif
                 printf("H%d condemns refs %d\n",c,rk) :: else -> goto nxr fi };
#ifndef M_WITHDRAW_LOOKS_FIRST
        atomic { if :: HAVE(0) -> rk=0 :: else fi };
#endif
        kept=0;
        if :: w==0 -> take_ref(0,s0,q0) :: w==1 -> take_ref(1,s1,q1) :: w==2 -> take_ref(2,s2,q2) fi;
        atomic { if :: MINE -> condR=0; condK=0; condS=0 :: else fi };
nxr:    w++
  od;
  end_run();
done: skip
}
#endif

/* ---------------- session: requires the keys of refs in K ---------------- */
#ifdef HEAL
#define WHOLE(r) (place[0]!=0 && !(dmg && place[0]==1) && COMPLETE(ref[r]))
#else
#define WHOLE(r) true
#endif
proctype Session(byte K) {
  bool cond; byte n;
  atomic { sess=1; ready && epoch!=0 -> req = req | K; sessep=epoch; cond = (condS & K)!=0; printf("S marks %d (condemned %d)\n",K,cond) };
  if :: cond -> skip
     :: else -> atomic { if :: sess && sessep==epoch && (K & 1)!=0 && ref[0]!=0 && WHOLE(0) -> promised = promised | 1; printf("S: ref0 is present\n") :: else fi;
                if :: sess && sessep==epoch && (K & 2)!=0 && ref[1]!=0 && WHOLE(1) -> promised = promised | 2 :: else fi; chk() }
  fi;
  n=0;
  do :: n<1 && sess -> atomic { ready && epoch!=0 && sessep!=epoch && sess -> n++; req = req | K; sessep=epoch; cond = (condS & K)!=0 };
          atomic { if :: sess && sessep==epoch && !cond && (K & 1)!=0 && ref[0]!=0 && WHOLE(0) -> promised = promised | 1 :: else fi; chk() }
     :: break
  od
}

/* ---------------- what happens to everybody ---------------- */
proctype Adv() {
  byte w;
  do
#ifdef WEXP
  :: atomic { opreg[0]==1 && !opexp[0] -> opexp[0]=1; printf("-- lease of op 0 expires\n") }
  :: atomic { opreg[1]==1 && !opexp[1] -> opexp[1]=1; printf("-- lease of op 1 expires\n") }
  :: atomic { opreg[2]==1 && !opexp[2] -> opexp[2]=1; printf("-- lease of op 2 expires\n") }
#endif
#ifdef WEXP1
  :: atomic { opreg[1]==1 && !opexp[1] -> opexp[1]=1; printf("-- lease of op 1 expires\n") }
#endif
#ifndef KEEPLEASE
  :: atomic { cur!=0 && !curexp -> curexp=1; printf("-- the maintenance lease expires\n") }
#endif
#ifdef SV
  :: atomic { pst!=0 && !gro -> gro=1; told=0; printf("-- the grace is over\n") }
#endif
#ifdef HEAL
  :: atomic { !dmg && place[0]==1 -> dmg=1; promised=0; printf("-- inode 1 is damaged\n") }
#endif
#ifdef WIPE
  :: atomic { wipes<1 -> wipes++; epoch=0; ready=0; canEvict=0; opreg[0]=0; opreg[1]=0; opreg[2]=0; res[0]=0; res[1]=0; res[2]=0; clR[0]=0;clR[1]=0;clR[2]=0;clK[0]=0;clK[1]=0;clK[2]=0;
       opexp[0]=0;opexp[1]=0;opexp[2]=0; cur=0; curexp=0; condR=0; condK=0; condS=0; req=0; known=0; used=0; delta=0; printf("-- REDIS IS EMPTIED\n") }
#ifndef WAITS
  :: atomic { ready && epoch!=0 && !canEvict -> canEvict=1; if :: sess && sessep!=epoch -> sess=0; promised=0 :: else fi; printf("-- the waiting period is over\n") }
#endif
  /* an operation's renewal finds the new epoch: it registers with what it was granted and claimed, in one script;
     one that is dying by now learns that it is lost */
#ifdef M_BACK_WITHOUT_CLAIM
#define AGAIN(w) skip
#else
#define AGAIN(w) clR[w]=hR[w]; clK[w]=hK[w]
#endif
#define BACK_AGAIN(w) atomic { alive[w] && opep[w]!=epoch && epoch!=0 && ready && (condR & hR[w])==0 && (condK & hK[w])==0 -> opep[w]=epoch; \
       if :: opreg[w]!=3 -> opreg[w]=1; opexp[w]=0; COUNT(OWN_FIGURE(w)); AGAIN(w); printf("-- op %d is back\n",w) :: else fi; chk() }
  :: BACK_AGAIN(0)
  :: BACK_AGAIN(1)
  :: BACK_AGAIN(2)
#endif
  od
}
init { atomic {
#ifdef ROOTB
  place[0]=1; nl[1]=1; ref[0]=B; rser[0]=1; disk=1; used=1;
#elif defined(EMPTY)
  skip;
#elif defined(SV)
  place[0]=1; nl[1]=1; ref[0]=B; rser[0]=1; disk=1; used=1;
  if :: place[1]=2; nl[2]=1; disk=2; used=2 :: skip fi;    /* o1 was uploaded long ago, or never */
#else
  place[0]=1; place[1]=2; nl[1]=1; nl[2]=1; ref[0]=A; rser[0]=1; disk=2; used=2; lst=1;
#endif
  GHOST(rino[0]=1);
#ifdef DEAD0
  place[0]=0; tr[4]=1; cdir[2]=1;
#endif
#ifdef W1
  run Writer(0,B,1,1,0);
#endif
#ifdef W2
  run Writer(1,B,1,1,0);
#endif
#ifdef W2A
  run Writer(1,A,0,1,0);
#endif
#ifdef W2B
  run Writer(1,B,0,1,0);
#endif
#ifdef PULL
  run Writer(1,A,0,1,1);
#endif
#ifdef UP
  run Writer(1,B,NOREF,1,0);
#endif
#ifdef SV
  run Writer(1,U,SERVE,1,0);
#endif
#ifdef LK
  run Writer(1,A,2,0,0);
#endif
#ifdef RD
  run Reader();
#endif
#ifdef C1
  run Cleaner(0,0);
#endif
#ifdef C2
  run Cleaner(1,0);
#endif
#ifdef RM
  run Cleaner(1,1);
#endif
#ifdef H1
  run Healer(0);
#endif
#ifdef H2
  run Healer(1);
#endif
#ifdef SE
  run Session(SE);
#endif
  run Adv();
} }
